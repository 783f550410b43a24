"""From a trained network to class indices: sliding window, flips, back to the canonical grid."""
