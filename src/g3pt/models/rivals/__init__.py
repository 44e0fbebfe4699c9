"""The models that Table 1 compares with CAR, trained on the same data and conditions."""
