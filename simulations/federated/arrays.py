"""Weights as Flower's records, and back."""

from flwr.app import Array, ArrayRecord

from simulations.federated.averaging import Arrays


def record_of(arrays: Arrays) -> ArrayRecord:
    """Weights and biases by name, as Flower sends them."""
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


def arrays_in(record: ArrayRecord) -> Arrays:
    """The same, back again."""
    return {name: array.numpy() for name, array in record.items()}
