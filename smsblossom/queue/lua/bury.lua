-- Forget dead jobs that the dead letters now hold. KEYS[1] queue. ARGV: id and time of death of each.
-- A job that was retried, or died again, meanwhile is left alone. Returns how many were forgotten.
local queue, gone = KEYS[1], 0
for i = 1, #ARGV, 2 do
    local died = redis.call('ZSCORE', queue .. ':dead', ARGV[i])
    if died and tonumber(died) == tonumber(ARGV[i + 1]) then
        redis.call('ZREM', queue .. ':dead', ARGV[i])
        redis.call('DEL', DEAD .. ARGV[i])
        gone = gone + 1
    end
end
return gone
