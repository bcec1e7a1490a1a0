"""The message center and the truth about rooms. Imports none of the other packages."""
