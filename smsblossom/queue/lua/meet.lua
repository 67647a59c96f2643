-- A worker has (re)connected and tells which run of the server it sees. KEYS[1] guard. ARGV: run · grace ms.
-- A new run of a server that kept its data means that leases ran out while nobody could renew them.
local known = redis.call('HGET', KEYS[1], 'run')
if known ~= ARGV[1] then
    redis.call('HSET', KEYS[1], 'run', ARGV[1], 'until', known and now + ARGV[2] or 0)
end
return redis.call('HGET', KEYS[1], 'until')
