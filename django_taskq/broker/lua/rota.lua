#!lua flags=allow-oom
-- rota | keys: ready turns | edges: none
--
-- What an operator sees of those who take turns: how many rounds each key's last job is behind the
-- first job in line.
-- ARGV: how many keys to look at, any of them where there are more; how many to name
-- Reply: per key its name and its rounds over all priorities, those with the most first; how many keys
--   have some, how many names were looked at, and how many there are

local EPSILON = 1e-6 -- thirds that add up to a whole
local heads = {}

local function head(priority) -- the place of the first in line, as it is scored
  if heads[priority] == nil then
    local band = ready_score(priority, 0)
    local first = redis.call('ZRANGE', ready, band, '(' .. string.format('%.0f', band + PRIORITY / 2),
      'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2]
    heads[priority] = first and tonumber(first) or false
  end
  return heads[priority]
end

local found = redis.call('HRANDFIELD', turns, tonumber(ARGV[1]), 'WITHVALUES')
local left, names = {}, {}
for i = 1, #found, 2 do
  local number, key = string.match(found[i], '^(%-?%d+):(.+)$')
  local priority = tonumber(number)
  local last = key and ready_score(priority, tonumber(found[i + 1]))
  if last and head(priority) and last >= head(priority) then
    if not left[key] then names[#names + 1] = key end
    left[key] = (left[key] or 0) + math.max(math.ceil(last - math.ceil(head(priority)) + 1 - EPSILON), 1)
  end
end
table.sort(names, function(one, other)
  return left[one] > left[other] or left[one] == left[other] and one < other
end)
local shares = {}
for i = 1, math.min(#names, tonumber(ARGV[2])) do
  shares[#shares + 1] = names[i]
  shares[#shares + 1] = left[names[i]]
end
return { shares, #names, #found / 2, redis.call('HLEN', turns) }
