-- Counts of one queue. KEYS[1] queue. ARGV[1] head start of normal jobs.
-- Returns { waiting, active, delayed, completed, failed, dead, paused, oldest ms, totals, workers, parked groups, now }
local queue, head = KEYS[1], tonumber(ARGV[1])

local parked, groups = 0, redis.call('ZRANGE', queue .. ':parked', 0, -1)
for _, group in ipairs(groups) do parked = parked + redis.call('ZCARD', queue .. ':parked:' .. group) end

local active = redis.call('HLEN', queue .. ':active')
local retrying = redis.call('ZCARD', queue .. ':failed')
local reserved = queue .. ':reserved'
local due = redis.call('ZCOUNT', queue, '-inf', now) + redis.call('ZCOUNT', reserved, '-inf', now)
local not_due = redis.call('ZCOUNT', queue, '(' .. now, '+inf') + redis.call('ZCOUNT', reserved, '(' .. now, '+inf')
local later = redis.call('ZCARD', queue .. ':later')
local later_not_due = redis.call('ZCOUNT', queue .. ':later', '(' .. now, '+inf')
-- Not due are: the running, those in `later`, and what a stock client deferred. What is due but still in `later` counts
-- as what it was until the next claim promotes it.
local delayed = math.max(0, not_due - active - later_not_due)
    + math.max(0, later - retrying) + redis.call('ZCARD', queue .. ':blocked')
local waiting = math.max(0, due - (later - later_not_due)) + parked

-- The longest wait among the first jobs of each place and age: exact unless a place holds many younger, more urgent jobs.
local oldest = 0
local function look(key, low, high)
    local page = redis.call('ZRANGEBYSCORE', key, low, high, 'WITHSCORES', 'LIMIT', 0, 50)
    for i = 1, #page, 2 do
        local tag = redis.call('HGET', queue .. ':tags', page[i])
        local _, own = split_tag(tag)
        local due = tonumber(page[i + 1]) + (own and tonumber(own) or head)
        if redis.call('HEXISTS', queue .. ':active', page[i]) == 0 then oldest = math.max(oldest, now - due) end
    end
end
local edges = { '-inf', now - 3600000, now - 600000, now - 120000, now - 30000, now }
for i = 1, #edges - 1 do look(queue, '(' .. edges[i], edges[i + 1]) end
look(reserved, '-inf', now)
for i = 1, math.min(#groups, 64) do look(queue .. ':parked:' .. groups[i], '-inf', '+inf') end

return {
    waiting, active, delayed, redis.call('ZCARD', queue .. ':completed'),
    retrying + redis.call('ZCARD', queue .. ':stopped'), redis.call('ZCARD', queue .. ':dead'),
    redis.call('EXISTS', queue .. ':paused'), math.max(0, oldest), redis.call('HGETALL', queue .. ':totals'),
    redis.call('ZRANGE', queue .. ':workers', 0, -1, 'WITHSCORES'), #groups, now,
}
