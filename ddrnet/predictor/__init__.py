"""From image files to label maps: which files, and the steps that each image goes through."""
