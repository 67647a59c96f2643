-- All that is known of some jobs of one queue. KEYS[1] queue, ARGV the ids. One row per id:
-- data · result · attempts · owner · lock · score in the queue · score in reserved or parked · later · failed · meta
-- · dead hash · blocked since · tag · now
local queue, rows = KEYS[1], {}
for i, id in ipairs(ARGV) do
    local tag = redis.call('HGET', queue .. ':tags', id)
    local lane, _, group = split_tag(tag)
    local aside = redis.call('ZSCORE', queue .. ':reserved', id)
    if not aside and group ~= '' then aside = redis.call('ZSCORE', parking(queue, lane, group), id) end
    rows[i] = {
        redis.call('GET', JOB .. id), redis.call('GET', RESULT .. id), redis.call('GET', RETRY .. id),
        redis.call('HGET', queue .. ':active', id), redis.call('EXISTS', LOCK .. id),
        redis.call('ZSCORE', queue, id), aside, redis.call('ZSCORE', queue .. ':later', id),
        redis.call('ZSCORE', queue .. ':failed', id), redis.call('HGETALL', META .. id),
        redis.call('HGETALL', DEAD .. id), redis.call('ZSCORE', queue .. ':blocked', id), tag, now,
    }
end
return rows
