"""Grading on a GPU: what needs one is marked `gpu` and skipped with its reason; what can be reasoned without one runs everywhere."""

import pytest
import torch

from autograder.inside import wire


@pytest.fixture
def far(monkeypatch):
    """A stand-in for a GPU on the wire: storages that go there become meta storages, so that a move can be seen."""
    real = wire._device
    monkeypatch.setattr(wire, "_device", lambda name: torch.device("meta") if name == "cuda:0" else real(name))


def arrived(*tensors, device="cuda:0"):
    """Tensors after they were packed, sent to a device and built there; and their storages."""
    packer = wire.Packer()
    packer.value(list(tensors))
    for view in packer.views:
        view.device = device
    storages = wire.storages_of(packer.frame(None)[wire.LENGTHS.size + len(b"null") :])
    return wire.build(packer.views, storages, 1 << 20), storages


@pytest.mark.usefixtures("far")
def test_views_of_one_storage_share_it_on_the_gpu():
    """Aliasing, strides and offsets are there what they were here; a storage is moved once."""
    x = torch.arange(12.0)
    (whole, turned, row), storages = arrived(x, x.view(3, 4).T, x[4:8])
    assert len({tensor.untyped_storage()._cdata for tensor in (whole, turned, row)}) == 1
    assert storages[0].device.type == "meta"
    assert storages[0]._cdata == whole.untyped_storage()._cdata
    assert (turned.shape, turned.stride(), row.storage_offset()) == ((4, 3), (1, 4), 4)


@pytest.mark.usefixtures("far")
def test_a_storage_is_on_one_device():
    """Views that say otherwise are no message."""
    packer, x = wire.Packer(), torch.arange(4.0)
    packer.value([x, x[1:]])
    packer.views[1].device = "cuda:0"
    with pytest.raises(wire.ProtocolError, match="two devices"):
        wire.build(packer.views, [x.untyped_storage()], 1 << 20)
