"""Sets in COCO's format: annotations, images, targets, and the check of all of them."""
