"""Hot reload of the settings: read, checked, and replaced as a whole.

`watcher` knows no application and `live_settings` reads no file: with several workers, the
supervisor watches the file and each worker applies its text.
"""
