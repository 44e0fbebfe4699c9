"""What CAR is compared with in Table 1, trained on the same data and conditions."""
