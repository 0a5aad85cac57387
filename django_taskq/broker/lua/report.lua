#!lua
-- report | keys: live reports | edges: none
--
-- Keeps what running jobs say of themselves: how far they have come, and their log. No flag: it
-- makes memory grow, so a full Redis refuses it, and the jobs go on without.
-- ARGV: per job (at most 500): id, fence, report
-- Reply: a letter per job: O kept, S stale: it is another attempt's turn, or nobody's
-- Sending the call again keeps the same.

local ids = {}
for i = 1, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local letters, kept = {}, {}
for i, raw in ipairs(redis.call('HMGET', live, unpack(ids))) do
  local l, at = read_live(raw), i * 3 - 2
  if l.fence == tonumber(ARGV[at + 1]) and l.settled < l.fence then
    letters[i] = 'O'
    kept[#kept + 1], kept[#kept + 2] = ids[i], ARGV[at + 2]
  else
    letters[i] = 'S'
  end
end
send('HSET', reports, kept)
return table.concat(letters)
