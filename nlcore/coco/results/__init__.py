"""What detectors find: result files, COCO's numbers, and pictures."""
