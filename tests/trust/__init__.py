"""Access: no caller gets more than its permissions."""
