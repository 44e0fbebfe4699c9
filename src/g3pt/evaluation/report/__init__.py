"""From rows to text, tables and plots."""
