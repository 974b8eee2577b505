"""What a target refuses, told before conversion. Imports the rooms up to qat."""
