"""EarthInstruct: counting, detecting and segmenting objects in remote-sensing images under free instructions."""
