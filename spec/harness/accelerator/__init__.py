"""An accelerator, from what it is to how far it climbs the ladder."""
