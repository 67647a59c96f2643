from tests.support.running import MIDDAY
from tests.support import samples as S
async def test_gen(service):
    rows=[]
    with service.at(MIDDAY):
        names=[s.name for s in S.samples(service.now(), "x.myshopify.com")]
        for n in names:
            shop=await service.new_shop()
            s=next(s for s in S.samples(service.now(), shop.domain) if s.name==n)
            rows.append(await S.observe(shop, s))
    S.write_table(rows)
