"""Clean a prediction: connected components, holes, and the rules that validation bore out."""
