"""Files of the page in which a browser shows the dashboard."""
