"""Off-line training of backbones that personalise well."""
