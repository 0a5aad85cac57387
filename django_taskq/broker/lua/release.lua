#!lua flags=allow-oom
-- release | keys: live ready waiting parked wake meta | edges: waiting->ready
--
-- Lets the parked jobs of one task back in line whose wait is over.
-- ARGV: now, task, most
-- Reply: how many

local now = clock(ARGV[1])
local task = ARGV[2]
local names = redis.call('ZRANGE', parked, '[' .. task .. ' ', '(' .. task .. '!', 'BYLEX', 'LIMIT', 0, ARGV[3])
if #names == 0 then return 0 end
local ids = {}
for i, name in ipairs(names) do ids[i] = string.sub(name, #task + 2) end
local waits = redis.call('ZMSCORE', waiting, unpack(ids))
local lives = redis.call('HMGET', live, unpack(ids))
local sequence = tail_of(meta, #ids)
local places, gone, done = {}, {}, {}
for i, id in ipairs(ids) do
  if not waits[i] then
    done[#done + 1] = names[i] -- it left in another way: it must not stand before the others
  elseif tonumber(waits[i]) <= now then
    places[#places + 1] = ready_score(read_live(lives[i]).priority, sequence + i)
    places[#places + 1] = id
    gone[#gone + 1] = id
    done[#done + 1] = names[i]
  end
end
send('ZREM', parked, done)
if #gone == 0 then return 0 end
redis.call('ZREM', waiting, unpack(gone))
redis.call('ZADD', ready, unpack(places))
set_wake(wake, ready)
return #gone
