"""`weft spiderpool-controller`: what is done once for a whole cluster's underlay networks."""
