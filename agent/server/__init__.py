"""How requests are received and answered: no connection that is slow holds a thread."""
