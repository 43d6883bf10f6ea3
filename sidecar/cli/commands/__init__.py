"""The commands, a module for each group. Modules are imported only when one of their commands is used."""
