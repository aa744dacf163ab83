"""Running notebooks: parameters, the papermill engine, and the supervised process tree."""
