"""What a device does about its orders: state, conditions, work, reports."""
