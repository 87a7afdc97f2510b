from benchmarks.hot_swap.run import *
import sys, json, dataclasses, pickle
from hub.bases.cache import Bases
from pathlib import Path
import random
WORDS = tuple("the a an is was this that good bad great poor fine awful movie film book actor plot story service love hate not very".split())
if __name__ == "__main__":
    import torch
    torch.set_num_threads(1)
    chance=random.Random(0)
    texts=[" ".join(chance.choices(WORDS,k=chance.randint(5,30))) for _ in range(12)]
    a=json.loads(sys.argv[2])
    if sys.argv[1]=="tiny":
        import tempfile
        from hub.testing.tiny import tiny_encoder
        base=tiny_encoder(Path(tempfile.mkdtemp())/"tiny")
    else: base=Bases(Path("/root/.cache/grafthub-tests")).pull("minilm")
    o=run(base,Plan(texts,**a))
    pickle.dump(o,open("/tmp/hs_out.pkl","wb"))
    print(o.verdicts.requests,o.verdicts.failed,o.verdicts.wrong,o.verdicts.examples[:5],o.kinds,[m.problem for m in o.moves if m.problem][:5],o.loads,o.reloads,o.separation)
