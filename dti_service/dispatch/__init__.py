"""Who runs which experiment where. One interface: `base.Dispatcher`."""
