"""How far two right answers may differ, with the reason, in one place."""

# float64: rounding of a few thousand additions; the worst seen over the property tests is 2e-15.
FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}
# Gradients of whole models in float64 add up over layers and tokens in another order than in torch's kernels.
GRADIENTS = {"rtol": 1e-8, "atol": 1e-10}
# float32: the same sums in another order (fused kernels, vector units); the worst seen is 2e-6.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}
# float16 keeps 11 bits and bfloat16 8: one rounding of a number near 1 is 5e-4 and 4e-3, and a few add up.
FLOAT16 = {"rtol": 2e-3, "atol": 2e-3}
BFLOAT16 = {"rtol": 2e-2, "atol": 2e-2}
