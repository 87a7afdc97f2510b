"""What `benchmarks.serve` measures against: FastAPI and transformers with plain PEFT.

The route is a plain function, which FastAPI runs in a thread; a lock keeps the active adapter of PEFT until
the text was run. BENCH_BASE and BENCH_ADAPTERS are those of `benchmarks.plain_service`.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from benchmarks.plain_service import Ask, PeftModels

app = FastAPI()
models = PeftModels()


@app.get("/readyz")
def is_ready() -> dict[str, bool]:
    """Answer once the adapters are loaded, which the import of this module does."""
    return {"ready": True}


@app.post("/predict")
def predict(ask: Ask) -> dict[str, Any]:
    """Make the adapter the active one, then run the text."""
    return models.run_one(ask)
