"""The REST interface: parse the request, call the service, render the answer. No rule lives here."""
