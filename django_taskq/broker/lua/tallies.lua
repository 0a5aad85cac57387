#!lua flags=allow-oom
-- tallies | keys: bulks tallies | edges: none
--
-- What the jobs have to say that do something to many others, the newest first.
-- ARGV: most (at most 100)
-- Reply: per job: id, since when (ms), what it says

local most = tonumber(ARGV[1])
local newest = redis.call('ZRANGE', bulks, 0, most - 1, 'REV', 'WITHSCORES')
local ids, reply = {}, {}
for i = 1, #newest, 2 do ids[#ids + 1] = newest[i] end
if #ids == 0 then return reply end
local texts = redis.call('HMGET', tallies, unpack(ids))
for i, id in ipairs(ids) do
  reply[#reply + 1] = id
  reply[#reply + 1] = newest[i * 2]
  reply[#reply + 1] = texts[i] or ''
end
return reply
