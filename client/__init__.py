"""The device: personalises on its own images and lets nothing but reports leave."""
