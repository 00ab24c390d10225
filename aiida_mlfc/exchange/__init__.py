"""The window in the wall: job folder, result folder, file names; numpy, YAML and HDF5 only."""
