"""Networks that learn, and how: layers, losses, data, and gradient flows of the weights."""
