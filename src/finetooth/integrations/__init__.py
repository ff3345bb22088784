"""What plugs into other software's trainers."""
