from __future__ import annotations

import pytest

from hub.errors import BadAdapter
from hub.store.peft.names import saved_names

QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"
HEAD = "base_model.model.classifier"


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        (f"{QUERY}.lora_A.weight", f"{QUERY}.lora_A.weight"),
        (f"{QUERY}.lora_A.default.weight", f"{QUERY}.lora_A.weight"),
        (f"{QUERY}.lora_B.mine.bias", f"{QUERY}.lora_B.bias"),
        (f"{QUERY}.lora_embedding_A.default", f"{QUERY}.lora_embedding_A"),
        (f"{QUERY}.lora_magnitude_vector", f"{QUERY}.lora_magnitude_vector"),
        (f"{QUERY}.lora_magnitude_vector.weight", f"{QUERY}.lora_magnitude_vector"),
        (f"{QUERY}.lora_magnitude_vector.default.weight", f"{QUERY}.lora_magnitude_vector"),
        (f"{QUERY}.ia3_l.default", f"{QUERY}.ia3_l"),
        (f"{QUERY}.hada_w1_a.default", f"{QUERY}.hada_w1_a"),
        (f"{QUERY}.oft_R.default.weight", f"{QUERY}.oft_R.weight"),
        (f"{QUERY}.base_layer.bias", f"{QUERY}.base_layer.bias"),
        (f"{HEAD}.modules_to_save.weight", f"{HEAD}.weight"),
        (f"{HEAD}.modules_to_save.default.weight", f"{HEAD}.weight"),
        (f"{HEAD}.original_module.weight", f"{HEAD}.original_module.weight"),
        (f"_orig_mod.{HEAD}.weight", f"{HEAD}.weight"),
        ("base_model.model._orig_mod.classifier.weight", f"{HEAD}.weight"),
        ("base_model.model.not_orig_mod.weight", "base_model.model.not_orig_mod.weight"),
    ],
)
def test_a_tensor_gets_the_name_that_peft_saves_it_under(name: str, saved: str) -> None:
    assert saved_names([name]) == {name: saved}


def test_the_copy_of_a_module_stays_beside_the_module_itself() -> None:
    names = [f"{HEAD}.bias", f"{HEAD}.modules_to_save.default.bias"]
    assert saved_names(names) == {name: name for name in names}


def test_two_adapters_and_two_copies_of_a_tensor_are_refused() -> None:
    with pytest.raises(BadAdapter, match="several adapters: a, b"):
        saved_names([f"{QUERY}.lora_A.a.weight", f"{HEAD}.modules_to_save.b.weight"])
    with pytest.raises(BadAdapter, match="are the same tensor"):
        saved_names([f"{QUERY}.lora_A.weight", f"_orig_mod.{QUERY}.lora_A.weight"])
