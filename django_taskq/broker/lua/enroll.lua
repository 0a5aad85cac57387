#!lua flags=allow-oom
-- enroll | keys: workers | edges: none
--
-- A worker says how it stands; its record lapses if it does not say so again in time. Some others that
-- have lapsed are dropped, so that those of workers that died do not stay.
-- ARGV: now, ms that the record stands, the worker's id, its record ("": it leaves)
-- Reply: 1 noted, 0 there are too many already
-- Sending the call again changes nothing more.

local MOST = 1000
local now, ttl, id, record = clock(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local some = redis.call('HRANDFIELD', workers, 10, 'WITHVALUES')
local gone = {}
for i = 1, #some, 2 do
  if #some[i + 1] < 8 or struct.unpack('>I8', some[i + 1]) <= now then gone[#gone + 1] = some[i] end
end
local known = redis.call('HEXISTS', workers, id)
if record ~= '' and known == 0 and redis.call('HLEN', workers) - #gone >= MOST then return 0 end
local left = redis.call('PTTL', workers)
send('HDEL', workers, gone)
if record == '' then
  redis.call('HDEL', workers, id)
else
  redis.call('HSET', workers, id, struct.pack('>I8', now + ttl) .. record)
  redis.call('PEXPIRE', workers, math.max(ttl, left))
end
return 1
