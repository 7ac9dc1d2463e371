"""The node itself: its flags, resources, description, status and statistics, and which pods it admits."""
