-- Renew leases. KEYS[1] queue. ARGV: lease ms, then id and owner of each running job.
-- Returns the ids another owner has taken. A job nobody holds (finished meanwhile, or Redis was emptied) is left alone.
local queue, lease, taken = KEYS[1], tonumber(ARGV[1]), {}
for i = 2, #ARGV, 2 do
    local id, owner = ARGV[i], ARGV[i + 1]
    local holder = redis.call('HGET', queue .. ':active', id)
    if holder == owner then
        redis.call('SET', LOCK .. id, owner, 'PX', lease)
        redis.call('ZADD', queue, 'XX', now + lease, id)
        redis.call('ZADD', queue .. ':reserved', 'XX', now + lease, id)
    elseif holder then
        taken[#taken + 1] = id
    end
end
return taken
