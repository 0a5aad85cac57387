#!lua flags=allow-oom
-- held | keys: live running | edges: none
--
-- What a holder has, as Redis sees it: a page of `running`, from the latest claim back.
-- ARGV: holder, cursor (0 at first)
-- Reply: the next cursor (-1: that was all), then per job of the holder: id, live

local holder, cursor = ARGV[1], tonumber(ARGV[2])
local PAGE = 500
local from = cursor > 0 and cursor or '+inf'
local found = redis.call('ZRANGE', running, from, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, PAGE, 'WITHSCORES')
if #found == 0 then return { -1 } end
local ids = {}
for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
local reply = { -1 }
if #ids == PAGE then
  local first, last = tonumber(found[2]), tonumber(found[#found])
  reply[1] = last < first and last or last - 1 -- the next page begins with the last of this one
end
local lives = redis.call('HMGET', live, unpack(ids))
for i, id in ipairs(ids) do
  if lives[i] and string.sub(read_live(lives[i]).tail, 1, 22) == holder then
    reply[#reply + 1] = id
    reply[#reply + 1] = lives[i]
  end
end
return reply
