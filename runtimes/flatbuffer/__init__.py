"""TFLite files: converted from an exported program, read, made right, counted, and written."""
