"""An experiment of a user's, once whole and once killed and resumed, and what parted them."""
