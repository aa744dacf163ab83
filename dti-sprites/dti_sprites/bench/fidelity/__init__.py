"""How good the results are on known sets, beside k-means on pixels and the published figures."""
