"""The cart of the checkout service."""
