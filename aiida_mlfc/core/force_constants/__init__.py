"""Force constants with the cells they belong to and a measure of their quality."""
