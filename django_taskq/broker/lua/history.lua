#!lua flags=allow-oom
-- history | keys: counts counting | edges: none
--
-- Reads what attempts came to, per span of time up to now.
-- ARGV: now, span (m, t, h, d: see counts.lua), how many, tasks (1: by task)
-- Reply: now, the number of the first span, a text per span as `counts` has it ("" for none), the
--   open minute's counters and counts in turn

local now, span, most = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local length, size = unpack(SPANS[span])
local numbers, slots = {}, {}
local first = math.min(most, size)
for place = 1, first do
  local number, slot = slot_of(span, now - (first - place) * length)
  numbers[#numbers + 1] = number
  slots[#slots + 1] = ARGV[4] == '1' and slot .. ' tasks' or slot
end
local texts = redis.call('HMGET', counts, unpack(slots))
for i, text in ipairs(texts) do
  if not text or string.match(text, '^%d+') ~= numbers[i] then texts[i] = '' end
end
local open = {}
for field, value in pairs(open_minute()) do open[#open + 1], open[#open + 2] = field, value end
return { now, tonumber(numbers[1]), texts, open }
