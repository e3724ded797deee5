"""Images in memory: the in-distribution, the out-distribution, noise, and what training does to them."""
